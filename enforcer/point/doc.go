// Package point describes the enforcement points of the policy contract: their names, the api table, the typed input of
// each, and the verdict a judge gives on one.
//
// Inputs are plain structs with strings that may come from the host; nothing here interprets them. The table is the agent's own
// and part of what is measured.
package point
