package server

import (
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// reachIn reads a scope, and the target that a grant must cover for it.
func reachIn(scope *pb.Scope) (reach keyring.Reach, target string, err error) {
	switch v := scope.GetScope().(type) {
	case *pb.Scope_All:
		return keyring.Reach{Kind: keyring.All}, everything, nil
	case *pb.Scope_Issuer:
		name, err := issuerIn("scope.issuer", v.Issuer)
		return keyring.Reach{Kind: keyring.OneIssuer, Name: name}, name + "/*", err
	case *pb.Scope_Ring:
		name, err := ringIn("scope.ring", v.Ring)
		return keyring.Reach{Kind: keyring.OneRing, Name: name}, name, err
	case *pb.Scope_Key:
		ring, serial, err := keyIn("scope.key", v.Key)
		return keyring.Reach{Kind: keyring.OneKey, Name: keyring.KeyID(ring, serial)}, ring, err
	case *pb.Scope_Backend:
		return keyring.Reach{Kind: keyring.OneBackend, Name: v.Backend}, everything, idIn("scope.backend", v.Backend)
	}
	return reach, "", invalid("scope", "say what to revoke: all, an issuer, a ring, a key or a backend")
}

func scopeToProto(r keyring.Reach) *pb.Scope {
	switch r.Kind {
	case keyring.All:
		return &pb.Scope{Scope: &pb.Scope_All{All: &emptypb.Empty{}}}
	case keyring.OneIssuer:
		return &pb.Scope{Scope: &pb.Scope_Issuer{Issuer: longIssuer(r.Name)}}
	case keyring.OneRing:
		return &pb.Scope{Scope: &pb.Scope_Ring{Ring: longRing(r.Name)}}
	case keyring.OneKey:
		ring, serial, _ := keyring.SplitKey(r.Name)
		return &pb.Scope{Scope: &pb.Scope_Key{Key: longKey(ring, serial)}}
	case keyring.OneBackend:
		return &pb.Scope{Scope: &pb.Scope_Backend{Backend: r.Name}}
	}
	return nil
}

// reachExists finds what a revocation is about. Everything always exists.
func (s *Server) reachExists(snap *keyring.Snapshot, reach keyring.Reach) error {
	switch reach.Kind {
	case keyring.OneIssuer:
		_, err := issuerOf(snap, reach.Name)
		return err
	case keyring.OneRing:
		_, err := lineOf(snap, reach.Name)
		return err
	case keyring.OneKey:
		ring, serial, err := keyring.SplitKey(reach.Name)
		if err == nil {
			_, _, err = keyOf(snap, ring, serial)
		}
		return err
	case keyring.OneBackend:
		mine := func(l *keyring.Line) bool {
			return l.Ring.Backend == reach.Name || slices.ContainsFunc(l.Ring.Keys, func(k keyring.Key) bool { return k.Backend == reach.Name })
		}
		if !slices.Contains(s.backends.Names(), reach.Name) && !slices.ContainsFunc(snap.Lines(), mine) {
			return failField(pb.Reason_REASON_BACKEND_NOT_FOUND, "scope.backend", "no backend %s is configured, and no key was made in one", reach.Name)
		}
	}
	return nil
}
