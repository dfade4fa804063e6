"""Reports: tables, CSV and plots, pure functions of records. Nothing here needs torch."""
