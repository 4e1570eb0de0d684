"""Steps between encoded rows and the model, fitted on training rows."""
