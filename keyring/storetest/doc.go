// Package storetest holds every [keyring.Store] to its contract.
//
// Use [Run] in the tests of a store, and [NewMemory] wherever a test needs a store that is fast, obeys simulated time
// (testing/synctest), and can be told to fail on either side of a call. The suite reads the contract in package
// keyring literally: what it does not check, no caller may rely on.
package storetest
