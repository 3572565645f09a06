DELETE FROM {ns}_views WHERE scope = ? AND projection = ?
