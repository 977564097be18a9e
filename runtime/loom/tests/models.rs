//! Every model of `portolan_loom::model` as a test.

macro_rules! models {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            portolan_loom::model::$name();
        })*
    };
}

models! {
    a_bell_wakes_both
    a_future_is_dropped_beside_another
    a_note_is_seen
    a_poller_beside_a_socket
    a_poller_is_notified
    a_task_beside_a_thread
    a_task_learns_of_the_end
    an_inbox_tells_of_every_frame
    everybody_learns_of_the_end
    two_wait_at_one_poller
    two_wait_for_one_socket
}
