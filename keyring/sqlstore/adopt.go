package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"intaglio.example/keyring"
)

// Adopt opens a store that was restored from a backup: the only way past an anchor that has seen more than it holds. It
// verifies the store as [Store.Verify] does, then, in the same transaction, raises a cutoff of everything at a revision
// above both its own and seen's, so that every key the backup knows is revoked, whatever was done to it after the
// backup was made. It returns the position from which servers go on; their anchors must be made anew.
//
// The same operation can adopt again after an error, and changes nothing more once it has succeeded.
func (s *Store) Adopt(ctx context.Context, seen keyring.Position, operation, actor, reason string, at time.Time) (keyring.Position, error) {
	c := keyring.Cutoff{Operation: operation, Reach: keyring.Reach{Kind: keyring.All}, Reason: reason, Actor: actor, Time: at}
	var to keyring.Position
	err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		h, err := s.head(ctx, tx, forUpdate)
		if err != nil {
			return err
		}
		if _, err := s.verify(ctx, tx, h); err != nil {
			return err
		}
		to, err = s.raise(ctx, tx, h, max(h.at.Revision, seen.Revision)+1, c)
		if err == nil && to.Revision <= seen.Revision {
			err = fmt.Errorf("%w: operation %s raised its cutoff at revision %d, before the anchor's %d; take another operation",
				keyring.ErrInvalid, operation, to.Revision, seen.Revision)
		}
		return err
	})
	if err != nil {
		return keyring.Position{}, fmt.Errorf("adopting store %s: %w", s.store, err)
	}
	return to, nil
}
