// Package skr releases keys to an attested guest: a wrapping key is made, evidence over it becomes a token at an attestation service, the token opens a key at a
// key service, and the key is unwrapped. Each step is a function of its own; Releaser takes them in order.
//
// The wrapping key never leaves this process's memory, the released key only through whoever asked. Both services are remote and asked over a network that
// the host controls: what is believed of them is what TLS and signatures hold up, and a wrong answer releases nothing. Tokens and keys are in no error and no log.
//
// Source: Azure services contract, sections 1.2 to 1.7.
package skr
