package keyring

import (
	"context"
	"errors"
)

// The errors of a store and of the rules it applies. Compare with errors.Is: they arrive wrapped, naming their object.
var (
	// ErrConflict: something changed after the position the write was based on. Nothing was written; read again.
	ErrConflict = errors.New("changed meanwhile")
	// ErrInvalid: the request contradicts itself or a rule that no retry will change. Nothing was written.
	ErrInvalid = errors.New("invalid")
	// ErrRefused: the move is not one the protocol knows, such as giving a revoked key back. Nothing was written.
	ErrRefused = errors.New("refused")
	// ErrKidKnown: the kid was recorded before under another key ID. Nothing was written.
	ErrKidKnown = errors.New("kid was recorded before under another key")
	// ErrRollback: the store's history does not contain the position asked about; it went back in time or is another store.
	ErrRollback = errors.New("the store went back in time")
	// ErrTampered: a row was edited, removed, or replaced by an older copy. The message names the row.
	ErrTampered = errors.New("the store was tampered with")
	// ErrNotInitialised: the store is empty. It is made once, on purpose, by intaglio init.
	ErrNotInitialised = errors.New("the store is not initialised")
	// ErrNewerSchema: the store was written by a newer release than this one.
	ErrNewerSchema = errors.New("the store's schema is newer than this program")
	// ErrStale: the replica's snapshot is older than it may be; it neither signs nor publishes.
	ErrStale = errors.New("the snapshot is stale")
)

// Changes is what a store holds at one position, or what changed in it since an earlier one.
type Changes struct {
	Store    string // the store's id
	Position Position
	Timing   Timing
	Full     bool // everything, not only what changed
	Issuers  []Issuer
	Rings    []Ring
	Grants   []Grant
	Cutoffs  []Cutoff // oldest first
}

// Edit is a set of rows to write, all or none. Rows are replaced whole.
type Edit struct {
	Issuers []Issuer
	Rings   []Ring
	Grants  []Grant
}

// A Store keeps issuers, rings, grants and cutoffs. It is linearizable: once a write returns nil, every later read, by
// any replica, sees it. Every write is one short transaction, never an interactive one. After any error but
// ErrConflict, ErrInvalid, ErrRefused and ErrKidKnown the outcome is unknown: read again. All methods are safe for concurrent use.
type Store interface {
	// Changes returns what changed after since, as of one instant; everything when since is the zero Position.
	// ErrRollback if the store's history does not contain since, ErrTampered if a row does not agree with the history,
	// ErrNotInitialised for an empty store. It never makes a store up.
	Changes(ctx context.Context, since Position) (Changes, error)
	// Swap writes the edit; ErrConflict if one of its rows changed, or a cutoff that concerns one of its rings was raised
	// (see Cutoffs.Since), after asOf. It passes every ring through Advance, stamps revisions, moves keys that left their ring to the archive, and refuses a kid ever
	// recorded under another key ID.
	Swap(ctx context.Context, asOf Position, e Edit) (Position, error)
	// Cut raises a cutoff: one row, however many keys it fells. It conflicts with nothing. Raising an operation again
	// returns the position of the first time; the same operation with another reach, target or reason is ErrInvalid.
	Cut(ctx context.Context, c Cutoff) (Position, error)
}
