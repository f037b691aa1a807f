"""What the pages share: process-wide state, controls, charts."""
