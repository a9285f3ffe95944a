package software

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"intaglio.example/backends"
)

// Rewrap seals every key under the newest KEK and returns how many it moved and how many were there already. It may run while servers sign
// and mint, may be killed and run again, and may run twice at once: each key moves by compare-and-swap, and only once its new
// seal has been opened again. progress, unless nil, is called after each key.
//
// A key it cannot open stays as it is, and the others are moved all the same; the error then names the first of
// them, and wraps ErrNoKEK, ErrDamaged, ErrMoved or ErrNewer. An older KEK may be taken away when Rewrap has returned no error on a
// server that has the newest, and every server has it.
func (b *Backend) Rewrap(ctx context.Context, progress func(done, total int)) (moved, already int, err error) {
	labels, err := b.sealed.Labels(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("rewrapping the keys of backend %s: %w", b.name, unavailable(ctx, err))
	}
	var first error
	left := 0
	for i, label := range labels {
		outcome, err := b.rewrap(ctx, label)
		switch {
		case errors.Is(err, backends.ErrUnusable):
			left++
			if first == nil {
				first = fmt.Errorf("key %s: %w", label, err)
			}
		case err != nil:
			return moved, already, fmt.Errorf("rewrapping key %s in backend %s: %w", label, b.name, err)
		case outcome == rewrapMoved:
			moved++
		case outcome == rewrapAlready:
			already++
		}
		if progress != nil {
			progress(i+1, len(labels))
		}
	}
	if left > 0 {
		return moved, already, fmt.Errorf("rewrapping the keys of backend %s: %d could not be opened; %w", b.name, left, first)
	}
	return moved, already, nil
}

type rewrapOutcome int

const (
	rewrapGone rewrapOutcome = iota // destroyed meanwhile
	rewrapMoved
	rewrapAlready
)

// rewrap moves one key.
func (b *Backend) rewrap(ctx context.Context, label string) (rewrapOutcome, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		data, ok, err := b.sealed.Get(ctx, label)
		if err != nil {
			return 0, unavailable(ctx, err)
		}
		if !ok {
			return rewrapGone, nil
		}
		next, err := b.reseal(label, data)
		if err != nil {
			return 0, err
		}
		if next == nil {
			return rewrapAlready, nil
		}
		if ok, err = b.sealed.Replace(ctx, label, data, next); err != nil {
			return 0, unavailable(ctx, err)
		}
		if ok {
			return rewrapMoved, nil
		}
		// disabled, destroyed or moved by another meanwhile: look again
	}
}

// reseal returns the blob data under the newest KEK; nil if it is under it already.
func (b *Backend) reseal(label string, data []byte) ([]byte, error) {
	old, err := parseBlob(label, data)
	if err != nil {
		return nil, err
	}
	plain, err := old.open(b.keks)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if old.kek == b.keks.newest().id {
		return nil, nil
	}
	next := *old
	if err := next.seal(b.keks.newest(), plain); err != nil {
		return nil, err
	}
	again, err := next.open(b.keks)
	if err != nil || !bytes.Equal(again, plain) {
		return nil, errors.New("what was sealed anew does not open")
	}
	clear(again)
	return next.encode()
}
