DELETE FROM {ns}_views WHERE {keys}
