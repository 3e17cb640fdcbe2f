"""Training: Ultralytics' trainer with a teacher."""
