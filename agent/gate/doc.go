// Package gate is the one place where a host's request meets the policy.
//
// Rows says of every method what is asked before it acts (docs/architecture.md). The server admits a call only through its row; a
// method without one is refused, and a test compares the rows with the services' descriptors in both directions. Until a
// policy is bound to the hardware report, only the rows that say so are admitted.
//
// The gate trusts the SNP device's HOST_DATA and the enforcer. The host controls the policy bytes it sends: they count for
// nothing until their hash is the report's. The gate fails closed: no device, no policy, no row, no decision, no answer in
// time, all of these refuse.
package gate
