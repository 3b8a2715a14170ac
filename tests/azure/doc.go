// Package azure is the place of emulators: Azure Attestation, Key Vault and what stands around them, as HTTP handlers for a server on loopback. Each keeps to
// the documents that clients exchange with the real service and decides by the real rules, so that a client that works here has nothing to change; none is
// trusted by anything but the roots that a test or a user gave.
//
// Source: Azure services contract, section 4.
package azure
