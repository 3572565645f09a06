DROP FUNCTION {ns}_not_json(text[]);
DROP FUNCTION {ns}_look(text[], uuid[]);
DROP FUNCTION {ns}_append(bigint, text[], bigint[], boolean[], uuid[], text[], bigint[], uuid[],
                          text[], integer[], bigint[], text[], text[]);
