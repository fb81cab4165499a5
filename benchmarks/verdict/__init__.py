"""The verdict as an instrument: what it says of liars and of honest explanations over many known performers."""
