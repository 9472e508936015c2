"""Pure functions of echocardiograms: clips, beats, contours, sectors and volumes."""
