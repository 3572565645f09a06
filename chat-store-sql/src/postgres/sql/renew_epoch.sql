INSERT INTO {ns}_meta (key, value) VALUES ('epoch', $1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
