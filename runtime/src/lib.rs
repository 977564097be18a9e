//! Runs a Portolan stack inside an ordinary std program.
