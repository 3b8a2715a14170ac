// Package rest is the HTTP face of key release, in the shapes that clients of Microsoft's sidecar know: /status, /attest/raw, /attest/maa, /attest/combined and
// /key/release. Every answer is one JSON document, an error {"error": "..."}: 400 for what cannot be read, 403 when evidence, token or key was not to be had, 500 when the
// sidecar itself failed.
//
// Whoever reaches it gets the pod's keys. It has to listen where only the pod's containers are; Listen takes loopback addresses only.
//
// Source: Azure services contract, section 1.3.
package rest
