SELECT (c.page_count - f.freelist_count) * s.page_size * 1.0
FROM pragma_page_count() c, pragma_freelist_count() f, pragma_page_size() s
