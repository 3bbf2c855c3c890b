// Package kmiptest has key servers for tests: a fake one that answers in
// process and misbehaves as told ([Server]), and two that others wrote,
// PyKMIP as Debian packages it ([StartPyKMIP]) and one on ovh/kmip-go
// ([StartOVH]). It shares no code with the client that they test.
package kmiptest
