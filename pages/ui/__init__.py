"""What the pages share; a subfolder holds the modules of the page that it is named after."""
