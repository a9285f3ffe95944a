package main

// manipulation is what somebody tries who can write the database.
type manipulation struct{ what, script string }

// body changes some bytes of the JSON in a row of a table.
func body(table, where, from, to string) string {
	return "UPDATE " + table + " SET body = CAST(replace(CAST(body AS TEXT), '" + from + "', '" + to + "') AS BLOB) WHERE " + where + ";"
}

// manipulations each touch another row, or touch it in another way, so that each is refused in words of its own.
var manipulations = []manipulation{
	{"a ring's maximum TTL is raised", body("records", "name = 'acme/partner'", `"max_ttl":3600`, `"max_ttl":9600`)},
	{"a retain flag is lifted", body("records", "name = 'acme/access'", `,"retain":true`, ``)},
	{"a revoked key is set back to active", body("records", "name = 'acme/id'", `"state":"revoked"`, `"state":"active"`)},
	{"a ring's MAC is overwritten", `UPDATE records SET mac = randomblob(32) WHERE name = 'acme/old'`},
	{"a ring is deleted", `DELETE FROM records WHERE name = 'acme/access'`},
	{"a ring is replaced by its older copy", `REPLACE INTO records SELECT * FROM old.records WHERE name = 'acme/id'`},
	{"a ring is added, with another one's MAC", `INSERT INTO records SELECT kind, 'acme/evil', revision, body, mac FROM records WHERE name = 'acme/access'`},
	{"a ring is renamed to a grant", `UPDATE records SET kind = 'grant' WHERE name = 'acme/partner'`},
	{"two grants swap names", `UPDATE records SET name = 'x' WHERE name = 'ann'; UPDATE records SET name = 'ann' WHERE name = 'bob'; UPDATE records SET name = 'bob' WHERE name = 'x'`},
	{"a grant is widened", body("records", "name = 'bob'", `"sign"`, `"audit"`)},
	{"a deleted grant is brought back from the copy", `REPLACE INTO records SELECT * FROM old.records WHERE name = 'ann'`},
	{"an issuer moves to another URL", body("records", "kind = 'issuer'", `https://acme`, `https://evil`)},
	{"65,536 older copies of a ring, which sum to nothing", `
		CREATE TABLE r (kind TEXT, name TEXT, revision INTEGER, body BLOB, mac BLOB); INSERT INTO r SELECT * FROM records;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 65536)
		INSERT INTO r SELECT kind, name, revision, body, mac FROM old.records, n WHERE name = 'acme/id';
		DROP TABLE records; ALTER TABLE r RENAME TO records`},
	{"a cutoff is narrowed", body("cutoffs", "operation = 'op-1'", `acme/id`, `acme/no`)},
	{"a cutoff is lowered", `UPDATE cutoffs SET revision = 1 WHERE operation = 'op-2'`},
	{"a cutoff is deleted", `DELETE FROM cutoffs WHERE operation = 'op-1'`},
	{"a cutoff is deleted, and the history of it", `DELETE FROM entries WHERE name = 'op-1'; DELETE FROM history WHERE revision = (SELECT revision FROM cutoffs WHERE operation = 'op-1'); DELETE FROM cutoffs WHERE operation = 'op-1'`},
	{"all cutoffs are deleted, with head and history", `DELETE FROM history WHERE revision >= (SELECT MIN(revision) FROM cutoffs); DELETE FROM entries WHERE kind = 'cutoff'; DELETE FROM cutoffs`},
	{"the head is edited", `UPDATE head SET body = zeroblob(length(body))`},
	{"the head is deleted", `DELETE FROM head`},
	{"the head is replaced by its older copy", `REPLACE INTO head SELECT * FROM old.head`},
	{"head and history are both taken back", `REPLACE INTO head SELECT * FROM old.head; DELETE FROM history WHERE revision > (SELECT revision FROM head); DELETE FROM entries WHERE revision > (SELECT revision FROM head)`},
	{"a digest of the history is overwritten", `UPDATE history SET digest = zeroblob(32) WHERE revision = 3`},
	{"a revision is deleted from the history", `DELETE FROM history WHERE revision = 9`},
	{"the history says another row was written", `UPDATE entries SET name = 'acme/none' WHERE revision = 8 AND name = 'acme/id'`},
	{"a kid is given to another key", `UPDATE kids SET key_id = 'acme/id/9' WHERE key_id = 'acme/old/1'`},
	{"a kid is forgotten", `DELETE FROM kids WHERE key_id = 'acme/old/1'`},
	{"an archived key is edited", body("archive", "serial = 1", `"state":"revoked"`, `"state":"retired"`)},
	{"an archived key is deleted", `DELETE FROM archive`},
	{"an archived key is deleted, and its kid", `DELETE FROM kids WHERE key_id = 'acme/old/1'; DELETE FROM archive`},
	{"the snapshots' time to live is stretched", `UPDATE meta SET timing = CAST(replace(CAST(timing AS TEXT), '15000000000', '95000000000') AS BLOB)`},
	{"the store's description is deleted", `DELETE FROM meta`},
}
