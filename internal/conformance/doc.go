// Package conformance shows for this table what Apache Kafka's own tests say about
// its global tables: each row of a list is a subtest that has its name. It has no
// code of its own besides its tests.
package conformance
