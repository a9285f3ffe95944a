package jws

import (
	"strings"
	"unicode"
)

// fewNames is how many names are compared one by one. Above it a map takes over, so that an
// object of thousands of names costs no more than its length.
const fewNames = 16

// A nameSet holds the names one object has shown so far. It lives on the stack until it needs an index.
type nameSet struct {
	fold  bool // names that differ only in case clash too
	few   [fewNames]string
	count int               // of few; frozen once there is an index
	index map[string]string // name (folded if fold) → name as it stood
}

// add adds name. It returns Duplicate or CaseVariant if it clashes with one that is there.
func (n *nameSet) add(name string) Code {
	if n.index != nil {
		return n.addIndexed(name)
	}
	for _, old := range n.few[:n.count] {
		if old == name || n.fold && strings.EqualFold(old, name) {
			return clash(old, name)
		}
	}
	if n.count < fewNames {
		n.few[n.count] = name
		n.count++
		return ""
	}
	n.index = make(map[string]string, 4*fewNames)
	for _, old := range n.few {
		n.index[n.key(old)] = old
	}
	return n.addIndexed(name)
}

func (n *nameSet) addIndexed(name string) Code {
	key := n.key(name)
	if old, ok := n.index[key]; ok {
		return clash(old, name)
	}
	n.index[key] = name
	return ""
}

func clash(old, name string) Code {
	if old == name {
		return Duplicate
	}
	return CaseVariant
}

// key returns what the index files name under: for a folding set the same for all its case variants.
func (n *nameSet) key(name string) string {
	if !n.fold {
		return name
	}
	return strings.Map(lowestFold, name)
}

// lowestFold returns the smallest of the runes that r is equal to under simple folding: those
// strings.EqualFold does not tell apart.
func lowestFold(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}
