package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// GetKey returns a key.
func (s *admin) GetKey(ctx context.Context, req *pb.GetKeyRequest) (*pb.Key, error) {
	ring, serial, err := keyIn("name", req.GetName())
	if err != nil {
		return nil, err
	}
	snap, err := s.look(ctx, ring)
	if err != nil {
		return nil, err
	}
	return showKey(snap, ring, serial)
}

// keyOf finds a key of a ring that the caller was admitted to.
func keyOf(snap *keyring.Snapshot, ring string, serial uint64) (*keyring.Line, *keyring.Key, error) {
	if line, ok := snap.Line(ring); ok {
		if k := line.Ring.Key(serial); k != nil {
			return line, k, nil
		}
	}
	return nil, nil, fail(pb.Reason_REASON_KEY_NOT_FOUND, "there is no key %s, or no more", keyring.KeyID(ring, serial))
}

func showKey(snap *keyring.Snapshot, ring string, serial uint64) (*pb.Key, error) {
	line, k, err := keyOf(snap, ring, serial)
	if err != nil {
		return nil, err
	}
	return keyToProto(snap, line.Ring, k), nil
}

// ListKeys returns a ring's keys, newest first.
func (s *admin) ListKeys(ctx context.Context, req *pb.ListKeysRequest) (*pb.ListKeysResponse, error) {
	name, err := ringIn("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	snap, err := s.look(ctx, name)
	if err != nil {
		return nil, err
	}
	line, err := lineOf(snap, name)
	if err != nil {
		return nil, err
	}
	newest := slices.Clone(line.Ring.Keys)
	slices.Reverse(newest)
	keys, next, err := page("keys "+name, req, newest, func(k keyring.Key) string { return fmt.Sprintf("%016x", ^k.Serial) }) // sorts as newest does
	if err != nil {
		return nil, err
	}
	res := &pb.ListKeysResponse{NextPageToken: next}
	for i := range keys {
		res.Keys = append(res.Keys, keyToProto(snap, line.Ring, &keys[i]))
	}
	return res, nil
}

// RetainKey keeps a key from being unpublished by rotation and from being destroyed by anything.
func (s *admin) RetainKey(ctx context.Context, req *pb.RetainKeyRequest) (*pb.Key, error) {
	return s.retain(ctx, "RetainKey", req.GetName(), req.GetValidateOnly(), true)
}

// ReleaseKey takes RetainKey back.
func (s *admin) ReleaseKey(ctx context.Context, req *pb.ReleaseKeyRequest) (*pb.Key, error) {
	return s.retain(ctx, "ReleaseKey", req.GetName(), req.GetValidateOnly(), false)
}

func (s *admin) retain(ctx context.Context, method, name string, dry, keep bool) (*pb.Key, error) {
	ring, serial, err := keyIn("name", name)
	if err != nil {
		return nil, err
	}
	a := act{method: method, object: longKey(ring, serial), verb: keyring.Admin, target: ring, dry: dry}
	snap, err := s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		line, k, err := keyOf(snap, ring, serial)
		if err != nil || k.Retain == keep {
			return e, err
		}
		if keep && !k.Destroy.IsZero() {
			return e, fail(pb.Reason_REASON_KEY_DESTROYED, "key %s is being destroyed since %s; it cannot be kept any more",
				keyring.KeyID(ring, serial), k.Destroy.UTC().Format(time.RFC3339))
		}
		next := line.Ring.Clone()
		next.Key(serial).Retain = keep
		return keyring.Edit{Rings: []keyring.Ring{next}}, nil
	})
	if err != nil {
		return nil, err
	}
	shown, err := showKey(snap, ring, serial)
	if dry && err == nil {
		shown.Retained = keep
	}
	return shown, err
}
