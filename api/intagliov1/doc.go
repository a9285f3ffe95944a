// Package intagliov1 is what a Go client of Intaglio imports: the gRPC clients and messages of intaglio.v1, generated
// from proto/intaglio/v1, whose comments are the contract. Begin with [NewSigningServiceClient] to have tokens signed.
//
// To verify tokens no client is needed: an issuer's keys are at its jwks_uri.
package intagliov1
