"""Pictures of echocardiograms and heart sounds."""
