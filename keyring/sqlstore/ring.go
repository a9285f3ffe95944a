package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"

	"intaglio.example/keyring"
)

// rings passes every ring of the edit through [keyring.Advance] and writes it. Old is as decodeRings returned it.
func (w *swap) rings(ctx context.Context, old []*keyring.Ring, next []keyring.Ring) error {
	for i := range next {
		if err := w.meanwhile(old[i], &next[i]); err != nil {
			return err
		}
		kept, err := keyring.Advance(old[i], next[i], w.cutoffs, w.store.timing, w.revision)
		if err == nil {
			err = w.checkIssuer(ctx, &kept)
		}
		if err == nil {
			err = w.ring(ctx, old[i], &kept)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// meanwhile refuses a ring that a cutoff raised after asOf concerns, as it was or as it is to be.
func (w *swap) meanwhile(old, next *keyring.Ring) error {
	for _, r := range []*keyring.Ring{old, next} {
		if r == nil {
			continue
		}
		if c := w.cutoffs.Since(w.asOf, r); c != nil {
			return fmt.Errorf("%w: cutoff %s was raised at revision %d, after %d", keyring.ErrConflict, c.Operation, c.Revision, w.asOf)
		}
	}
	return nil
}

// decodeRings returns the rings as they are, nil where there is none, and the oldest reservation in them.
func (w *swap) decodeRings(next []keyring.Ring) (old []*keyring.Ring, oldest keyring.Revision, err error) {
	old, oldest = make([]*keyring.Ring, len(next)), w.revision
	for i := range next {
		r := w.present[rowName{kindRing, next[i].Name}]
		if r == nil {
			continue
		}
		old[i] = &keyring.Ring{Revision: r.revision}
		if err := json.Unmarshal(r.body, old[i]); err != nil {
			return nil, 0, err
		}
		for k := range old[i].Keys {
			oldest = min(oldest, old[i].Keys[k].Reserved)
		}
	}
	return old, oldest, nil
}

// loadCutoffs reads the cutoffs that can fell a key reserved at or after oldest, and those raised after asOf. It goes by the history, so that a cutoff that was deleted is missed.
func (w *swap) loadCutoffs(ctx context.Context, oldest keyring.Revision) error {
	from := min(oldest, w.asOf+1)
	entries, err := list(ctx, w.tx, scanEntry, `SELECT revision, kind, name, sum FROM entries WHERE kind = 'cutoff' AND revision >= $1 ORDER BY revision`, int64(from))
	if err != nil {
		return err
	}
	for i := range entries {
		r, err := w.store.current(ctx, w.tx, entries[i].rowName, &entries[i])
		if err != nil {
			return err
		}
		c := keyring.Cutoff{}
		if err := json.Unmarshal(r.body, &c); err != nil {
			return err
		}
		c.Revision = r.revision
		w.cutoffs = append(w.cutoffs, c)
	}
	return nil
}

func (w *swap) checkIssuer(ctx context.Context, r *keyring.Ring) error {
	issuer := rowName{kindIssuer, r.Issuer()}
	if _, ok := w.present[issuer]; ok {
		return nil // it is in the edit
	}
	found, err := w.store.lookup(ctx, w.tx, issuer)
	if err == nil && found == nil {
		err = fmt.Errorf("%w: ring %s has no issuer", keyring.ErrInvalid, r.Name)
	}
	return err
}

// ring writes one ring, the kids that it records first, and the keys that left it. Old is nil when the ring is new.
func (w *swap) ring(ctx context.Context, old, next *keyring.Ring) error {
	if old == nil {
		old = &keyring.Ring{}
	}
	for i := range next.Keys {
		k := &next.Keys[i]
		if before := old.Key(k.Serial); k.Kid != "" && (before == nil || before.Kid == "") {
			if err := w.record(ctx, k.Kid, keyring.KeyID(next.Name, k.Serial)); err != nil {
				return err
			}
		}
	}
	for i := range old.Keys {
		if k := &old.Keys[i]; next.Key(k.Serial) == nil {
			if err := w.archive(ctx, old.Name, k); err != nil {
				return err
			}
		}
	}
	return w.replace(ctx, kindRing, next.Name, next)
}

// record notes for good that kid is the key's.
func (w *swap) record(ctx context.Context, kid, keyID string) error {
	owner, ok, err := w.store.keyByKid(ctx, w.tx, kid)
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("%w: kid %s of key %s belongs to key %s", keyring.ErrKidKnown, kid, keyID, owner)
	}
	r := w.store.key.sealed(kindKid, kid, 0, []byte(keyID))
	if _, err := w.tx.ExecContext(ctx, `INSERT INTO kids (kid, key_id, mac) VALUES ($1, $2, $3)`, kid, keyID, r.mac); err != nil {
		return fmt.Errorf("writing %s: %w", r, err)
	}
	return nil
}

// archive keeps the record of a key that leaves its ring.
func (w *swap) archive(ctx context.Context, ring string, k *keyring.Key) error {
	body, err := encode(k)
	if err != nil {
		return err
	}
	r := w.store.key.sealed(kindArchive, keyring.KeyID(ring, k.Serial), w.revision, body)
	_, err = w.tx.ExecContext(ctx, `INSERT INTO archive (ring, serial, revision, body, mac) VALUES ($1, $2, $3, $4, $5)`,
		ring, int64(k.Serial), int64(r.revision), r.body, r.mac)
	if err != nil {
		return fmt.Errorf("writing %s: %w", r, err)
	}
	w.head.gone.add(r)
	return nil
}
