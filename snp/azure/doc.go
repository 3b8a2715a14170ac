// Package azure is the place of clients of Azure's attestation and key services: one directory a service. They are for a guest as well as for a laptop: every base URL
// is the caller's, nothing is asked that was not asked for, and no answer is believed but for a signature that the caller's trust covers.
//
// Source: Azure services contract, sections 1 and 4.
package azure
