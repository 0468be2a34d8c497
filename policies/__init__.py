"""What is promised, as data: the files that the code obeys and the pages are made from."""
