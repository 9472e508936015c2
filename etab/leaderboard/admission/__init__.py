"""Which results of a folder a board may show: nothing in a result file is believed unchecked."""
