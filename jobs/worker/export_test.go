package worker

// Bind makes every call of a store end.
var Bind = bind
