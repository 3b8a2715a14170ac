// Package expr reads and evaluates the expressions of deployment templates: "[concat(parameters('a'), '-b')]".
//
// What is known at deployment time only (a parameter without a value, the resource group, an access key) is a value like any
// other here, and what is computed from it is the pattern that it leaves or, at worst, unknown too. An expression that the
// resource manager would refuse, or a function that is not understood, is an error: it is never guessed at. Evaluation is
// bounded in steps and bytes, since a template of a few lines can ask for any amount of both.
package expr
