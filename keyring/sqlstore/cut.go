package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"intaglio.example/keyring"
)

// Cut is [keyring.Store.Cut]. It reads the head and its own row, no ring, and uses a connection of its own: a write of
// this process that takes longer than a moment is ended.
func (s *Store) Cut(ctx context.Context, c keyring.Cutoff) (keyring.Position, error) {
	defer s.turn.cut()()
	var at keyring.Position
	err := s.transact(ctx, s.brake, func(ctx context.Context, tx *sql.Tx) error {
		h, err := s.head(ctx, tx, forUpdate)
		if err != nil {
			return err
		}
		at, err = s.raise(ctx, tx, h, h.at.Revision+1, c)
		return err
	})
	if err != nil {
		return keyring.Position{}, fmt.Errorf("raising cutoff %s: %w", c.Operation, err)
	}
	return at, nil
}

// raise writes a cutoff at revision rev, unless its operation has raised it before.
func (s *Store) raise(ctx context.Context, tx *sql.Tx, h head, rev keyring.Revision, c keyring.Cutoff) (keyring.Position, error) {
	if err := c.Validate(); err != nil {
		return keyring.Position{}, err
	}
	body, err := encode(c)
	if err != nil {
		return keyring.Position{}, err
	}
	first, err := s.lookup(ctx, tx, rowName{kindCutoff, c.Operation})
	if err != nil {
		return keyring.Position{}, err
	}
	if first != nil {
		return s.raised(ctx, tx, first, body)
	}
	w := &write{store: s, tx: tx, head: h, revision: rev}
	if err := w.put(ctx, nil, kindCutoff, c.Operation, body); err != nil {
		return keyring.Position{}, err
	}
	return w.finish(ctx)
}

// raised answers for a cutoff that stands already: with its position if body asks for the same.
func (s *Store) raised(ctx context.Context, tx *sql.Tx, first *record, body []byte) (keyring.Position, error) {
	var was, now keyring.Cutoff
	if err := errors.Join(json.Unmarshal(first.body, &was), json.Unmarshal(body, &now)); err != nil {
		return keyring.Position{}, err
	}
	if was.Reach != now.Reach || was.Into != now.Into || was.Reason != now.Reason {
		return keyring.Position{}, fmt.Errorf("%w: operation %s raised another cutoff at revision %d: %s, reason %q",
			keyring.ErrInvalid, first.name, first.revision, was.Reach, was.Reason)
	}
	at, ok, err := s.positionAt(ctx, tx, first.revision)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the history of revision %d was deleted", keyring.ErrTampered, first.revision)
	}
	return at, err
}
