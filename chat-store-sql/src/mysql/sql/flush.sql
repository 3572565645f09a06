UPDATE {ns}_flushes SET times = times + 1 WHERE slot = ?
