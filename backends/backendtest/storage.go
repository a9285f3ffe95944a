package backendtest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
)

// Storage keeps sealed keys in memory: what backends/software needs where no database is at hand. It is
// linearizable and safe for concurrent use. The zero value is empty and ready.
type Storage struct {
	mu    sync.Mutex
	blobs map[string][]byte
}

// Put stores blob under label unless something is there, and returns what is there now.
func (s *Storage) Put(ctx context.Context, label string, blob []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.blobs == nil {
		s.blobs = map[string][]byte{}
	}
	if _, ok := s.blobs[label]; !ok {
		s.blobs[label] = bytes.Clone(blob)
	}
	return bytes.Clone(s.blobs[label]), nil
}

// Get returns what is under label.
func (s *Storage) Get(ctx context.Context, label string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	blob, ok := s.blobs[label]
	return bytes.Clone(blob), ok, ctx.Err()
}

// Replace stores new under label if old is there.
func (s *Storage) Replace(ctx context.Context, label string, old, new []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	blob, ok := s.blobs[label]
	if !ok || !bytes.Equal(blob, old) {
		return false, nil
	}
	s.blobs[label] = bytes.Clone(new)
	return true, nil
}

// Delete removes label.
func (s *Storage) Delete(ctx context.Context, label string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	delete(s.blobs, label)
	return nil
}

// Labels lists all labels, sorted.
func (s *Storage) Labels(ctx context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.blobs)), ctx.Err()
}
