// Package cli is how the command line speaks: failures in three lines with a fixed exit code, results as tables for people
// and as JSON, YAML or names for machines, and the code that a person repeats to confirm what they saw.
//
// Use [Refused] for what a server answered, [Failure] for everything else that ends a command, and a [Printer] for
// results. Whatever comes from outside, such as a token's claims or a server's words, is made fit for a terminal on its way
// out: no control character gets through.
package cli
