"""Reports: tables, CSV files and plots as pure functions of records. Nothing here needs torch."""
