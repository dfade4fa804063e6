"""The learner: one LightningModule for every method. `options` needs no torch."""
