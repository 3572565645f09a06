DROP VIEW {ns}_messages;
DROP VIEW {ns}_chats;
DROP VIEW {ns}_history;
DROP FUNCTION {ns}_time(bigint);
DROP FUNCTION {ns}_field(json, text[]);
