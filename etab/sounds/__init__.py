"""Pure functions of heart sounds: resampling, states, envelopes, mel spectrograms."""
