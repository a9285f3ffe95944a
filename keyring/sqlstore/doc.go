// Package sqlstore keeps rings, grants and cutoffs in an SQL database that is not trusted with the truth.
//
// Use [Init] once, on purpose, to make a store, and [Open] ever after. A [Store] obeys the contract of
// [keyring.Store]; [Store.Sealed] keeps the sealed keys of the software backend beside it.
//
// Whoever can write to the database can stop the service, and must not be able to do more. Three things see to it, all
// under one MAC key that is kept outside the database:
//
//   - Every row carries an HMAC over its kind, name, revision and bytes, so no row can be written or edited, nor moved
//     to another name or store.
//   - The head, one row with a MAC of its own, holds the position: the revision and the digest of the whole history. A
//     replica that asks what changed since its own position recomputes the digest from there to the head, so no change
//     can be hidden from it, and a history that does not contain its position is refused.
//   - The head also holds a set hash of all current rows (see [setHash]), so whoever reads everything finds out about a
//     row that was deleted or replaced by an older copy of itself, whose MAC is good, without walking the history.
//
// What these cannot see is a database that was replaced as a whole by an older copy of itself: that is what a server's
// [keyring.Anchor] is for, and [Store.Adopt] the only way on from there.
//
// The dialect is SQLite. All SQL is written to mean the same on PostgreSQL; what differs is gathered in type dialect.
package sqlstore
