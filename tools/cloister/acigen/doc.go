// Package acigen writes the ACI policy (Rego) of a group of containers that a deployment document describes, and the text of
// a fragment: what "az confcom acipolicygen" and "acifragmentgen" write, for every pair of API and framework version that
// they ever wrote, and the newest.
//
// The text is made of four things: the group as its reader found it (package workload), the images' configurations and
// layer roots (package images), a compatibility level (which versions, flags, decision points and spellings), and a file of
// defaults (what the platform adds to each container). Levels and defaults are data with versions, package defaults; none
// of them is in the code.
//
// The host is not asked anything. Readers and image sources are trusted to tell what the documents and images say; whatever
// they leave open is closed here, and what is contradictory or cannot be written down is an error: no rule is widened in
// silence. Patterns that stand for unknown values are listed (Policy.Wildcards) for the caller to have them confirmed.
//
// The same inputs give the same bytes: no time, path, random value or map order enters the text.
package acigen
