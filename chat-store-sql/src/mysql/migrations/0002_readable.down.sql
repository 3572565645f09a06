DROP VIEW IF EXISTS {ns}_messages;
DROP VIEW IF EXISTS {ns}_chats;
DROP VIEW IF EXISTS {ns}_history;
