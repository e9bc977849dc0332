"""Files of series: their layouts, how they are written while others read, and what is read of them."""
