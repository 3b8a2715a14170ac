// Package certs finds the certificate chain of a report's signing key: in the guest's security context, at the host's THIM, at AMD's key distribution service, or at Azure's
// cache of it.
//
// Nothing of it is verified here: whoever relies on evidence judges its chain. But a chain that was issued for another chip or another firmware version than the report is
// of is no chain for it, and is never returned, wherever it comes from: better the guest looks elsewhere than a relying party refuses.
//
// Source: Azure services contract, sections 1.2, 1.6 and 4.3.
package certs
