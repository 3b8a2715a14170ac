// Package keyvault speaks with Azure Key Vault and Managed HSM about keys that are released to attested guests: release policies, the request that asks for
// a key, and the way back from the service's signed answer to the key.
//
// The service is remote and its answer comes over a network that the host controls: what is believed of it is what a certificate chain and a signature
// hold up. A release policy is the key owner's; reading one fails closed, for what is not understood would be taken for less than it says.
//
// Source: Azure services contract, sections 1.7, 1.9 and 4.2.
package keyvault
