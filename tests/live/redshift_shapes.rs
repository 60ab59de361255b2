//! Tables that change while they are followed into Redshift.

use std::time::Duration;

use crate::redshift::stand;
use crate::support::eventually;
use crate::support::redshift::Mishap;

const TABLE: &str = "create table t (id int primary key, a int, b varchar(10), c numeric(8,2), gone text);
     insert into t select n, n, 'b' || n, n / 4.0, 'gone' from generate_series(1, 50) n";

#[test]
fn tables_that_change_are_followed_in_redshift_with_values_names_and_types() {
    let stand = stand("rs_shapes");
    stand.shop.sql(TABLE);
    let tailwater = stand.pipeline("rs_shapes");
    tailwater.run_until_current().success();
    for (step, columns) in [
        // Columns come with values, one of them longer than text has room for at first.
        (
            "alter table t add d text default repeat('x', 3000), add e timestamptz not null default now(),
                           add f bytea default '\\x00ff', add j jsonb default '{\"a\": [1, null]}';
             insert into t (id, gone) values (101, 'y'); alter table t drop gone; alter table t add gone int default 7;
             insert into t (id) values (102); update t set a = 5 where id = 3",
            "id, a, b, c, d, e, f, j, gone",
        ),
        // Names change, and change places.
        (
            "alter table t rename b to bb; insert into t (id, bb) values (201, 'z')",
            "id, a, bb, c, d, e, f, j, gone",
        ),
        (
            "alter table t rename d to x; alter table t rename bb to d; alter table t rename x to bb;
             insert into t (id, d, bb) values (202, 'd', 'bb')",
            "id, a, bb, c, d, e, f, j, gone",
        ),
        // Types become wider.
        (
            "alter table t alter a type bigint, alter c type numeric(12,4), alter gone type text;
             insert into t (id, a, c, gone) values (301, 9000000000, 12345678.1234, 'text'); update t set c = 2 where id = 7",
            "id, a, bb, c, d, e, f, j, gone",
        ),
    ] {
        stand.shop.sql(step);
        tailwater.run_until_current().success();
        stand.equal(&format!("select {columns} from t order by id"));
    }
    // A row that is written anew loses it: two were.
    assert_eq!(stand.warehouse.one("select count(*) from t where gone__dropped2 = 'gone'"), "48");
    // What Redshift can't take stops the table, and says what helps.
    stand.shop.sql("alter table t alter a type text; insert into t (id, a) values (401, 'text')");
    tailwater.run_until_current().success();
    stand.shop.sql("alter table t drop constraint t_pkey, add primary key (id, e); insert into t (id) values (402)");
    tailwater.run_until_current().code(3).says(&["the key of public.t", "--resnapshot"]);
}

#[test]
fn a_kill_at_each_step_of_a_change_in_redshift_leaves_nothing_half() {
    let stand = stand("rs_shapes_kill");
    stand.shop.sql(TABLE);
    let tailwater = stand.pipeline("rs_shapes_kill");
    tailwater.run_until_current().success();
    stand.shop.sql("alter table t add d int not null default 7, alter a type bigint; alter table t rename b to e; insert into t (id, a) values (101, 9000000000)");
    let note = "DELETE FROM \"_tailwater\".\"columns_rs_shapes_kill\"";
    let mut moments: Vec<String> = (1..=5).map(|n| vec!["ALTER TABLE \"public\""; n].join(">")).collect();
    moments.extend(["UPDATE \"public\"".to_owned(), note.to_owned(), format!("{note}>COMMIT"), "COPY".to_owned()]);
    let mut met = 0;
    for moment in moments {
        stand.redshift.mishap(&moment, Mishap::Stall);
        let mut running = tailwater.start(&["run", "--until-current"]);
        let stalled = eventually("the moment has come, or it has ended", Duration::from_secs(60), || {
            if stand.redshift.stalls() { Some(true) } else { (!running.alive()).then_some(false) }
        });
        met += usize::from(stalled);
        running.kill9();
        stand.redshift.heal();
    }
    assert_eq!(met, 9, "five statements with ALTER, an UPDATE, the note, COMMIT and COPY");
    tailwater.run_until_current().success();
    stand.equal("select id, a, e, c, gone, d from t order by id");
}
