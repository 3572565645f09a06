INSERT INTO {ns}_streams (id, name) VALUES (?1, ?2)
