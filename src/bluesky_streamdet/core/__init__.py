"""Pure logic of a series: events, order, account. No socket, no file, no thread, no clock of its own."""
