SELECT name FROM {ns}_streams WHERE id = ?1
